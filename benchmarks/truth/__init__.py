"""The table of truth: policies trained in full, to tell which proxy of a search ranks them."""

"""Each module is a command that measures this project against a peer or a published figure."""

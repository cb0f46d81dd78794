"""Speed of the engine beside a naive implementation and the machine's floor, in one command."""

"""Demo: a small labelled folder of drawn pictures to try the tool on."""

"""Files and folders, whatever is in them: names, places, and writing that a crash cannot spoil."""

"""What a run survives: bad files, kills, a full disk, very many files, very large ones."""

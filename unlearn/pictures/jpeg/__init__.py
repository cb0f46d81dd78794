"""JPEG files that stay JPEG, every decoded pixel within the bound."""

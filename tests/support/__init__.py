"""What tests are made of: pictures, folders, small networks, whole runs."""

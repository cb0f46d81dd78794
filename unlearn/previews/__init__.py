"""Previews: pictures before and after, the most visible ones first."""

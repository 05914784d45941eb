"""Functions that the project's own are measured against; each is deployed as it stands here."""

"""Labels of images, their corrections, and feedback sent through the API."""

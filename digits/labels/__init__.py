"""Labels of images, and what people correct in them."""

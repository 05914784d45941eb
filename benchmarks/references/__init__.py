"""References for benchmarks: minimal Lambda functions, and the page reader PP-OCRv6."""

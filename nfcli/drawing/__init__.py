"""Pictures, with the numbers in them as JSON beside each: samples, walks, dequantization, learning curves, the page."""

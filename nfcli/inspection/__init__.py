"""Looking at what a model learned: samples, interpolations, dequantization. Each call writes a PNG and a JSON."""

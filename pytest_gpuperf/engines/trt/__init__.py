"""TensorRT behind small doors: versions, CUDA calls, building, storing, running, and the layers of an engine."""

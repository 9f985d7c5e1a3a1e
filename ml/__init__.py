"""Data-free meta-learning from a pool of frozen classifiers; needs torch, torchvision, safetensors."""

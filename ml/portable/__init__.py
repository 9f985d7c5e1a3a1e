"""Meta-learners and adaptations taken along: as a script that needs torch alone, and as ONNX."""

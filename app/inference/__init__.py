"""The one door to tensors: meta-learners, few-shot classifiers made of them, and what they say.

Covered: images live in this process's memory for the request only; what an adapted classifier keeps
of them (class means, and one vector per support image) lives as long as the classifier.
Not covered: what the operating system swaps out.
"""

from app.inference.answers import Abstention, Adapted, Answer, Pixels
from app.inference.service import Inference
from ml.outlook import STRANGE_FROM, Pair

__all__ = ["STRANGE_FROM", "Abstention", "Adapted", "Answer", "Inference", "Pair", "Pixels"]

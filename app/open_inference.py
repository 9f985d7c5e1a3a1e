"""Tensors as the Open Inference Protocol, version 2, carries them: as JSON, or as bytes behind it.

Covered: FP32 and UINT8 inputs, flat or nested; the binary tensor data extension both ways, which
NVIDIA's and KServe's clients use unless told not to.
"""

import json
import math
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.few_shot_form import MAX_QUERIES
from app.inference import Pixels
from pool.errors import InvalidInput

INPUT, PROBABILITIES, LABELS, NEAREST = "images", "probabilities", "labels", "nearest_support"
HEADER_LENGTH = "Inference-Header-Content-Length"
DIGITS = re.compile(r"[0-9]{1,18}")
"""A number of bytes; Python refuses to read one of thousands of digits."""
MAX_SIDE = 1024
BYTES_PER_VALUE = {"FP32": 4, "UINT8": 1}


EXAMPLE: dict[str, Any] = {
    "inputs": [
        {
            "name": INPUT,
            "shape": [1, 1, 2, 2],
            "datatype": "FP32",
            "data": [0.0, 0.5, 0.5, 1.0],
        }
    ]
}


class TensorIn(BaseModel):
    """One input."""

    name: str
    shape: list[int] = Field(min_length=4, max_length=4)
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class OutputWish(BaseModel):
    """One output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferenceRequest(BaseModel):
    """The request's JSON."""

    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [EXAMPLE]})

    id: str | None = Field(default=None, max_length=200)
    inputs: list[TensorIn] = Field(min_length=1, max_length=1)
    outputs: list[OutputWish] | None = None
    parameters: dict[str, Any] = {}


class TensorOut(BaseModel):
    """One output; without data where its bytes follow the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] | None = None


class InferenceResponse(BaseModel):
    """The answer's JSON."""

    model_name: str
    id: str | None = None
    outputs: list[TensorOut]


def read_request(body: bytes, header_length: str | None) -> tuple[InferenceRequest, Pixels]:
    """The request and the images in it.

    Args:
        body: JSON, or JSON and bytes.
        header_length: of the JSON, where bytes follow it.

    Raises:
        InvalidInput: it is no such request; the part is named, nothing is quoted.
    """
    text, binary = body, b""
    if header_length is not None:
        if not DIGITS.fullmatch(header_length):
            raise InvalidInput(f"{HEADER_LENGTH} is a number of bytes.", part=HEADER_LENGTH)
        text, binary = body[: int(header_length)], body[int(header_length) :]
    try:
        request = InferenceRequest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        part = "/".join(map(str, first["loc"])) or "body"
        raise InvalidInput(f"This is no inference request: {first['msg']}.", part=part) from None
    return request, _pixels(request.inputs[0], binary)


def _pixels(tensor: TensorIn, binary: bytes) -> Pixels:
    part = f"inputs/{INPUT}"
    if tensor.name != INPUT:
        raise InvalidInput(f"The only input is called `{INPUT}`.", part="inputs/0/name")
    if tensor.datatype not in BYTES_PER_VALUE:
        raise InvalidInput("Send FP32 in [0, 1] or UINT8.", part=f"{part}/datatype")
    count, channels, height, width = tensor.shape
    if not 1 <= count <= MAX_QUERIES or channels not in (1, 3):
        raise InvalidInput(
            f"The shape is [images, channels, height, width]: 1 to {MAX_QUERIES} images of 1 or 3 "
            "channels.",
            part=f"{part}/shape",
        )
    if not 1 <= height <= MAX_SIDE or not 1 <= width <= MAX_SIDE:
        raise InvalidInput(f"Sides are 1 to {MAX_SIDE} pixels.", part=f"{part}/shape")
    values, size = math.prod(tensor.shape), BYTES_PER_VALUE[tensor.datatype]
    if "binary_data_size" in tensor.parameters:
        data = binary
    else:
        data = _packed(tensor.data or [], tensor.datatype, part)
    if len(data) != values * size:
        raise InvalidInput(
            f"The shape asks for {values} values; {len(data) // size} came.", part=f"{part}/data"
        )
    return Pixels(data=data, shape=(count, channels, height, width), datatype=tensor.datatype)


def _packed(data: list[Any], datatype: str, part: str) -> bytes:
    kind = "f" if datatype == "FP32" else "B"
    try:
        return array(kind, _flat(data)).tobytes()
    except (TypeError, OverflowError) as error:
        said = "numbers" if kind == "f" else "whole numbers from 0 to 255"
        raise InvalidInput(f"The data are {said}.", part=f"{part}/data") from error


def _flat(data: list[Any]) -> Iterator[Any]:
    """Nested lists, four deep at most, row by row."""
    stack = [iter(data)]
    while stack:
        for each in stack[-1]:
            if isinstance(each, list):
                if len(stack) == 4:
                    raise TypeError("deeper than a tensor of images")
                stack.append(iter(each))
                break
            yield each
        else:
            stack.pop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One output's values, row by row."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[Any]

    def binary(self) -> bytes:
        """As the protocol's extension has them: little-endian; texts with their lengths."""
        if self.datatype == "BYTES":
            texts = [str(value).encode() for value in self.values]
            return b"".join(struct.pack("<I", len(text)) + text for text in texts)
        kind = "<f" if self.datatype == "FP32" else "<q"
        return b"".join(struct.pack(kind, value) for value in self.values)


def write_answer(
    request: InferenceRequest, model_name: str, columns: Sequence[Column]
) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON where bytes follow.

    Raises:
        InvalidInput: an output that does not exist is wanted.
    """
    known = {column.name: column for column in columns}
    wanted = request.outputs or [OutputWish(name=name) for name in known]
    everything = bool(request.parameters.get("binary_data_output"))
    outputs, tail = [], b""
    for wish in wanted:
        if wish.name not in known:
            names = ", ".join(known)
            raise InvalidInput(f"The outputs are {names}.", part="outputs")
        column = known[wish.name]
        said: dict[str, Any] = {
            "name": column.name,
            "shape": list(column.shape),
            "datatype": column.datatype,
        }
        if wish.parameters.get("binary_data", everything):
            data = column.binary()
            outputs.append(TensorOut(**said, parameters={"binary_data_size": len(data)}))
            tail += data
        else:
            outputs.append(TensorOut(**said, data=list(column.values)))
    answer = InferenceResponse(model_name=model_name, id=request.id, outputs=outputs)
    text = json.dumps(answer.model_dump(exclude_none=True)).encode()
    return text + tail, len(text) if tail else None

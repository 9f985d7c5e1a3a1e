"""Parts of a multipart form that several routes read: image files, and a label for each.

Covered: all of it stays in memory; a refusal names the part and quotes nothing.
"""

from starlette.datastructures import FormData, UploadFile

from pool.errors import InvalidInput

MAX_LABEL_CHARS = 200


async def read_images(form: FormData, part: str) -> list[bytes]:
    """The files of a repeated part, as sent.

    Raises:
        InvalidInput: one is no file.
    """
    images = []
    for position, image in enumerate(form.getlist(part)):
        if not isinstance(image, UploadFile):
            raise InvalidInput(
                f"Send images as files: curl -F {part}=@image.png.", part=f"{part}[{position}]"
            )
        images.append(await image.read())
    return images


def read_labels(form: FormData) -> list[str]:
    """The repeated field `labels`.

    Raises:
        InvalidInput: one is empty, too long or no text.
    """
    labels = []
    for position, label in enumerate(form.getlist("labels")):
        if not isinstance(label, str) or not label.strip() or len(label) > MAX_LABEL_CHARS:
            raise InvalidInput(
                f"A label is text of 1 to {MAX_LABEL_CHARS} characters.", part=f"labels[{position}]"
            )
        labels.append(label)
    return labels

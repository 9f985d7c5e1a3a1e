"""The web UI's address, `/`, and its files; no part of the API's description."""

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from app.deps import SettingsDep
from app.threads import ThreadedRoute
from app.ui.files import INDEX, page_headers, read_files

router = APIRouter(include_in_schema=False, route_class=ThreadedRoute)

FILES = read_files()


@router.api_route("/", methods=["GET", "HEAD"])
async def get_page(request: Request, settings: SettingsDep) -> Response:
    """The one page; what it shows, it asks the API for."""
    return _sent(request, INDEX, settings)


@router.api_route("/ui/{path:path}", methods=["GET", "HEAD"])
async def get_page_file(path: str, request: Request, settings: SettingsDep) -> Response:
    """A script or a style sheet of the page."""
    return _sent(request, path, settings)


def _sent(request: Request, name: str, settings: SettingsDep) -> Response:
    file = FILES.get(name)
    if file is None:
        raise HTTPException(404)
    headers = {"ETag": file.etag, **page_headers(settings)}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.data, media_type=file.kind, headers=headers)

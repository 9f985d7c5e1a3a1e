# One image, two commands: the API (default) and a worker. See compose.yaml.
FROM python:3.11-slim AS build
WORKDIR /srv/modelpool
RUN python -m pip install --no-cache-dir uv==0.13.8
COPY requirements.lock ./
# Into a directory of its own, so that the final image carries neither uv nor its cache.
RUN python -m venv /opt/venv \
    && uv pip install --no-cache --compile-bytecode --python /opt/venv/bin/python --require-hashes -r requirements.lock

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    MODELPOOL_HOST=0.0.0.0 MODELPOOL_VAR=/var/lib/modelpool
RUN useradd --system --uid 10001 --home-dir /var/lib/modelpool --create-home modelpool
WORKDIR /srv/modelpool
COPY --from=build /opt/venv /opt/venv
COPY alembic.ini pyproject.toml ./
COPY migrations ./migrations
COPY pool ./pool
COPY ml ./ml
COPY app ./app
COPY worker ./worker
USER modelpool
VOLUME /var/lib/modelpool
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz/live', timeout=4)"]
# A worker runs the same image with: celery --quiet -A worker.main worker -Q gpu -c 1
CMD ["python", "-m", "app.main"]

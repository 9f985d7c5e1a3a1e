"""The main job as a newcomer sees it: clients train, upload, build and ask, over HTTP alone."""

import pytest

from ferkit.testing import NormalizerSuite


class TestImageApi(NormalizerSuite):
    component = "image-api"
    distribution = "ferkit-image-api"
    entry_module = "ferkit_image_api"

    @pytest.fixture(autouse=True)
    def _server(self, server):
        self.url = server.url

    def options(self):
        return {"url": self.url, "size": 64, "seed": True}

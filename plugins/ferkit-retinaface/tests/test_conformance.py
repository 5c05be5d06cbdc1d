from ferkit.testing import DetectorSuite


class TestRetinaFace(DetectorSuite):
    component = "retinaface"
    distribution = "ferkit-retinaface"


class TestRetinaFaceInBatches(TestRetinaFace):
    config = {"batch_size": 4, "threads": 1}

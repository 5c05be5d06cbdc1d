from ferkit.testing import EncoderSuite


class TestNano(EncoderSuite):
    component = "nano"
    distribution = "ferkit-nano"
    labels = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")

from ttsmux.adapters.gradium import Gradium
from ttsmux.adapters.xai import XAI
from ttsmux.testing import AdapterContract


class TestGradium(AdapterContract):
    adapter = Gradium(voice="YTpq7expH9539ERJ")


class TestXAI(AdapterContract):
    adapter = XAI()

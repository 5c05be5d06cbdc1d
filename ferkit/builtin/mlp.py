"""Head ``mlp``: a multi-layer perceptron on pooled features."""

from collections import OrderedDict

from torch import nn

from ferkit.builtin import Mlp
from ferkit.builtin.learnt import PooledHead, width
from ferkit.interfaces import Context


class MLP(PooledHead):
    """Layer norm, hidden layers with GELU and dropout, and a linear classifier."""

    def __init__(self, config: Mlp, context: Context) -> None:
        def build() -> nn.Module:
            inputs = width(context)
            layers = OrderedDict[str, nn.Module](norm=nn.LayerNorm(inputs))
            for index, hidden in enumerate(config.hidden):
                block = (nn.Linear(inputs, hidden), nn.GELU(), nn.Dropout(config.dropout))
                layers[f"hidden{index}"] = nn.Sequential(*block)
                inputs = hidden
            layers["classifier"] = nn.Linear(inputs, len(context.labels))
            return nn.Sequential(layers)

        super().__init__(build, config, context)

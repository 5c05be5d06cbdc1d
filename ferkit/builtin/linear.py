"""Head ``linear``: a linear classifier on pooled features."""

from collections import OrderedDict

from torch import nn

from ferkit.builtin import Learnt
from ferkit.builtin.learnt import PooledHead, width
from ferkit.interfaces import Context


class Linear(PooledHead):
    """Dropout and one linear layer; its tensors are ``classifier.weight`` and ``classifier.bias``."""

    def __init__(self, config: Learnt, context: Context) -> None:
        inputs = width(context)

        def build() -> nn.Module:
            classifier = nn.Linear(inputs, len(context.labels))
            return nn.Sequential(OrderedDict(dropout=nn.Dropout(config.dropout), classifier=classifier))

        super().__init__(build, config, context)

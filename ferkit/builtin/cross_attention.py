"""Head ``cross-attention``: class texts look at the visual tokens of all encoders and views.

Our reading of the multimodal fusion of Chen et al. (J. Imaging 2026, 12(1), 24), who do not state theirs. Attention and
blocks are those of Vaswani et al. 2017 with the normalization first (Xiong et al. 2020); the cosine is CLIP's (Radford et
al. 2021). Their composition is ours.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ferkit.builtin import CrossAttention as Config
from ferkit.builtin.by_face import ByFace, class_text
from ferkit.builtin.learnt import LearntHead, groups, pooled, width
from ferkit.errors import StageError
from ferkit.interfaces import Context
from ferkit.types import FRONTAL, Faces, Features

VIEWS = 3
ALIGNED_VIEW, FRONTAL_VIEW, FAILED_VIEW = range(VIEWS)
ANGLES = 5
SCALE = 10.0  # of the cosine at first
EMBEDDING_STD = 0.02


class CrossAttention(LearntHead):
    """Logit of class c: scale · cos(query_c, text_c) + linear(pooled)_c.

    text_c is the class's text, projected; of several encoders with text, the sum. query_c is text_c after blocks of
    cross-attention to the tokens of all encoders and views (an encoder without tokens gives its pooled feature as one) and
    a multi-layer perceptron. Queries do not see each other: a class's logit is the same whichever others a recipe has.
    """

    module: "Fusion"

    def __init__(self, config: Config, context: Context) -> None:
        self.specs = dict(context.inputs)
        self.readers = tuple(name for name, spec in context.inputs.items() if spec.text)

        def build() -> nn.Module:
            visual = [spec.token_dim or spec.dim for spec in self.specs.values()]
            text = [self.specs[name].dim for name in self.readers]
            return Fusion(config, visual, text, width(context), len(context.labels))

        super().__init__(build, config.weights, context)

    def __call__(self, features: Features, faces: Faces) -> Tensor:
        """Logits ``[N, C]``."""
        logits: Tensor = self.module(
            [self._tokens(features, name) for name in self.names],
            [class_text(features, name) for name in self.readers],
            circumstances(features, faces),
            pooled(features, self.names, len(faces)),
            ByFace(features, len(faces)),
        )
        return logits.float()

    def stages(self) -> list[list[nn.Parameter]]:
        """Projections and embeddings, each block, and what scores."""
        fusion = self.module
        first = [*fusion.views.parameters(), *fusion.texts.parameters()]
        last = [*fusion.match.parameters(), *fusion.classifier.parameters()]
        return [first, *groups(fusion.blocks), last]

    def _tokens(self, features: Features, name: str) -> Tensor:
        output = features.encoders[name]
        if self.specs[name].token_dim is None:
            return output.pooled[:, None]
        if output.tokens is None:
            raise StageError(f"the features of encoder {name!r} come without its tokens: encode again, and keep them")
        return output.tokens


class Fusion(nn.Module):
    """Texts as queries, visual tokens as keys and values, and the scores.

    Args:
        config: Width, heads, blocks and dropout.
        visual: Width of each encoder's tokens.
        text: Width of the class texts of each encoder that has some.
        pooled: Width of all pooled features side by side.
        classes: Number of classes, on which ``classifier`` alone depends.
    """

    def __init__(self, config: Config, visual: Sequence[int], text: Sequence[int], pooled: int, classes: int) -> None:
        super().__init__()
        self.views = VisualTokens(visual, config.width)
        self.texts = ClassTexts(text, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.dropout) for _ in range(config.blocks))
        self.match = ScaledCosine(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(pooled, classes)

    def forward(
        self,
        tokens: Sequence[Tensor],
        texts: Sequence[Tensor],
        circumstances: tuple[Tensor, Tensor],
        pooled: Tensor,
        by_face: ByFace,
    ) -> Tensor:
        """Logits ``[N, C]``.

        Args:
            tokens: Of each encoder ``[M, T, E]``.
            texts: Of each encoder with text ``[C, D]``.
            circumstances: See :func:`circumstances`.
            pooled: ``[N, D]``.
            by_face: From views to faces.
        """
        seen = self.views(tokens, *circumstances)
        memory = by_face(seen).flatten(1, 2)
        there = by_face.there.repeat_interleave(seen.shape[1], 1)
        text = self.texts(texts)
        query = text.expand(len(memory), *text.shape)
        for block in self.blocks:
            query = block(query, memory, there)
        logits: Tensor = self.match(query, text) + self.classifier(self.dropout(pooled))
        return logits


class ClassTexts(nn.Module):
    """Class texts of all encoders that have some, projected to one width, summed and normalized."""

    def __init__(self, dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Linear(dim, width) for dim in dims)
        self.norm = nn.LayerNorm(width)

    def forward(self, texts: Sequence[Tensor]) -> Tensor:
        """``[C, width]``."""
        each = [project(text) for project, text in zip(self.projections, texts, strict=True)]
        together: Tensor = self.norm(torch.stack(each).sum(0))
        return together


class VisualTokens(nn.Module):
    """Tokens of all encoders in one width, with embeddings of their encoder, their view and the face's yaw.

    The bias of an encoder's projection is its embedding.
    """

    def __init__(self, dims: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, width)) for dim in dims)
        self.view = nn.Parameter(torch.randn(VIEWS, width) * EMBEDDING_STD)
        self.yaw = nn.Linear(ANGLES, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Sequence[Tensor], view: Tensor, angles: Tensor) -> Tensor:
        """``[M, T, width]``, T the number of all encoders' tokens."""
        place = self.view[view] + self.yaw(angles)
        each = [project(rows) for project, rows in zip(self.projections, tokens, strict=True)]
        embedded: Tensor = self.norm(torch.cat(each, 1) + place[:, None])
        return embedded


class Block(nn.Module):
    """Cross-attention and a multi-layer perceptron, each normalized first and added."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, query: Tensor, memory: Tensor, there: Tensor) -> Tensor:
        """``query`` ``[N, C, width]`` after a look at ``memory`` ``[N, K, width]`` where it is ``there`` ``[N, K]``."""
        query = query + self.dropout(self.attention(self.norm(query), memory, there))
        changed: Tensor = query + self.mlp(query)
        return changed


class Attention(nn.Module):
    """Multi-head attention. torch's own module takes no batch of zero faces together with a mask."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.split, self.dropout = (heads, width // heads), dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, memory: Tensor, there: Tensor) -> Tensor:
        """``[N, C, width]``; see :class:`Block`."""
        parts = (self.query(query), self.key(memory), self.value(memory))
        q, k, v = (part.unflatten(-1, self.split).transpose(1, 2) for part in parts)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=there[:, None, None], dropout_p=dropout)
        mixed: Tensor = self.out(seen.transpose(1, 2).flatten(2))
        return mixed


class ScaledCosine(nn.Module):
    """Cosine of query and text, times a scale that is learnt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def forward(self, query: Tensor, text: Tensor) -> Tensor:
        """``[N, C]`` from ``[N, C, width]`` and ``[C, width]``."""
        return self.log_scale.exp() * F.cosine_similarity(self.norm(query), text, dim=-1)


def circumstances(features: Features, faces: Faces) -> tuple[Tensor, Tensor]:
    """Of each view its kind (aligned, frontal, aligned because the turn failed), int64 ``[M]``, and the face's yaw.

    The yaw is that of the photo, also for frontal views: sine and cosine of it and of its double, and 1 where it is unknown
    and they are 0: ``[M, 5]``.
    """
    frontal = torch.tensor([view == FRONTAL for view in features.view], dtype=torch.bool, device=features.failed.device)
    view = torch.where(frontal, FRONTAL_VIEW, torch.where(features.failed, FAILED_VIEW, ALIGNED_VIEW))
    yaw = faces.pose[:, 0].deg2rad()
    waves = torch.stack([yaw.sin(), yaw.cos(), (2 * yaw).sin(), (2 * yaw).cos()], 1).nan_to_num(0.0)
    angles = torch.cat([waves, yaw.isnan().float()[:, None]], 1).to(view.device)
    return view, angles[features.face_index]

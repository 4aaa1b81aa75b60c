"""Graph attention and pooling against loops over pairs of nodes."""

import torch
from torch.nn import functional as F

from avdfd.models.graphs import GraphAttention, GraphPool, MixedGraphAttention


def test_graph_attention_equals_a_loop_over_pairs():
    torch.manual_seed(1)
    layer = GraphAttention(5, 4, temperature=2.0).eval()
    x = torch.randn(1, 6, 5)
    with torch.no_grad():
        logits = torch.tensor(
            [[float(torch.tanh(layer.att_proj(a * b)) @ layer.att_weight[:, 0]) for b in x[0]] for a in x[0]]
        )
        attention = (logits / 2).exp() / (logits / 2).exp().sum(dim=1, keepdim=True)
        nodes = layer.proj_with_att(attention @ x[0]) + layer.proj_without_att(x[0])
        torch.testing.assert_close(layer(x)[0], F.selu(layer.bn(nodes)))


def test_mixed_graph_attention_has_a_weight_for_each_kind_of_pair():
    torch.manual_seed(1)
    layer = MixedGraphAttention(5, 4, temperature=100.0).eval()
    temporal, spectral, master = torch.randn(1, 3, 5), torch.randn(1, 2, 5), torch.randn(1, 1, 5)
    with torch.no_grad():
        x = torch.cat([layer.proj_type1(temporal), layer.proj_type2(spectral)], dim=1)[0]
        logits = torch.empty(5, 5)
        for i, a in enumerate(x):
            for j, b in enumerate(x):
                kind = {0: layer.att_weight11, 1: layer.att_weight12, 2: layer.att_weight22}[(i > 2) + (j > 2)]
                logits[i, j] = torch.tanh(layer.att_proj(a * b)) @ kind[:, 0]
        nodes = layer.proj_with_att((logits / 100).softmax(dim=1) @ x) + layer.proj_without_att(x)
        to_master = (torch.tanh(layer.att_projM(x * master[0])) @ layer.att_weightM / 100).softmax(dim=0)
        updated = layer.proj_with_attM(to_master.T @ x) + layer.proj_without_attM(master[0])
        one, two, three = layer(temporal, spectral, master)
    torch.testing.assert_close(torch.cat([one, two], dim=1)[0], F.selu(layer.bn(nodes)))
    torch.testing.assert_close(three[0], updated)


def test_pooling_keeps_the_nodes_with_the_highest_scores():
    pool = GraphPool(3, ratio=0.5).eval()
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = pool(x)
        scores = torch.sigmoid(pool.proj(x))
    for nodes, score, kept in zip(x, scores[..., 0], found, strict=True):
        best = sorted(range(5), key=lambda i: -score[i])[:2]
        torch.testing.assert_close(kept, torch.stack([nodes[i] * score[i] for i in best]))
    assert GraphPool(3, ratio=0.1)(x).shape == (2, 1, 3), "one node is kept at least"

"""One small model per pass that shows what it does, and what it must leave alone."""

SAMPLES = {
    "common_subexpressions": """
model Twice(x: [B, 6, 8]) -> [B, 6, 8] {
  layer shared = linear[8]
  a = x |> shared |> gelu
  b = x |> shared |> gelu |> dropout[0.5]
  c = x |> shared |> gelu |> dropout[0.5]
  d = x |> linear[8] |> gelu
  repeat 2 { a = a + exp(-a) * relu(b) - exp(-a) }
  return a + b + c + d
}
""",
    "rearrangements": """
from std.nn import ToMap, ToTokens

model Moved(x: [B, 12, 8]) -> [B, 12, 8] {
  map = x |> ToMap[[3, 4]]
  y = map |> ToTokens |> relu
  grid = y |> rearrange["b (h w) d -> b h w d", h = 3, w = 4] |> slice[1, 0, 3]
  windows = grid |> rearrange["b h (w q) d -> b w (h q) d", q = 2] |> relu
  parts = split[2, [2, 2, 2]](windows)
  z = stack[0](*parts) * 2
  back = z |> rearrange["k b w q d -> b (w k q) d"] |> transpose[1, 2] |> transpose[1, 2]
  return x + back
}
""",
    "dead_code": """
from std.nn import SplitHeads

model Unread(x: [B, 6, 8]) -> [B, 6, 8] {
  idle = x |> SplitHeads[2]
  weighted = x |> gelu |> linear[8]
  y = relu(x)
  unused = relu(x)
  repeat 2 { y = y + x; unused = exp(unused) }
  return y
}
""",
    "fused_attention": """
from std.nn import QKV, MergeHeads, SplitHeads
from std.linear_attention import LinearState, LinearRead, SplitRelu

block Pieces(x: [B, n, d]) -> [B, n, d] {
  (q, k, v) = x |> QKV[2]@qkv
  (s, z) = LinearState(SplitRelu(k), v)
  return LinearRead(SplitRelu(q), s, z) |> MergeHeads
}

block ByHand(x: [B, n, d]) -> [B, n, d] {
  (q, k, v) = x |> QKV[2]@qkv
  fq = elu(q) + 1
  fk = 1 + elu(k)
  above = matmul(fq, einsum["b h t f, b h t c -> b h f c"](fk, v))
  return above / (0.001 + matmul(fq, reduce["b h t f -> b h f 1", sum](fk))) |> MergeHeads
}

block TwoReaders(x: [B, n, d]) -> [B, n, d] {
  (q, k, v) = x |> QKV[2]@qkv
  (s, z) = LinearState(relu(k), v)
  fewer = slice[2, 0, 3](x |> linear[d] |> SplitHeads[2])
  (a, b) = [LinearRead(relu(t), s, z) for t in [q, fewer]]
  return MergeHeads(a) + reduce["b h n c -> b 1 (h c)", mean](b)
}

block StateInUse(x: [B, n, d]) -> [B, n, d] {
  (q, k, v) = x |> QKV[2]@qkv
  (s, z) = LinearState(relu(k), v)
  return MergeHeads(LinearRead(relu(q), s, z)) * reduce["b h m e -> b 1 1", mean](s)
}

model Attentions(x: [B, 6, 8]) -> [B, 6, 8] {
  return x |> Pieces@a |> ByHand@b |> TwoReaders@c |> StateInUse@d
}
""",
    "fused_attention_other_maps": """
from std.nn import QKV, MergeHeads
from std.linear_attention import LinearState, LinearRead, linear_attention

model OtherMaps(x: [B, 6, 8]) -> [B, 6, 8] {
  (q, k, v) = x |> QKV[2]@qkv
  (s, z) = LinearState(exp(k), v)
  y = LinearRead[eps = 0](sigmoid(q), s, z) |> MergeHeads
  (s', z') = LinearState(softmax[-1](k), v)
  y += LinearRead(softmax[3](q), s', z') |> MergeHeads
  return y + linear_attention[softmax[-1]](q, k, v) + linear_attention[softmax[2]](q, k, v)
}
""",
    "evaluation_order": """
from std.nn import QKV
from std.linear_attention import linear_attention

model Lengths(x: [B, 6, 8], y: [B, 40, 8]) -> ([B, 6, 8], [B, 40, 8]) {
  (q, k, v) = x |> QKV[2]@short
  (q', k', v') = y |> QKV[2]@long
  return linear_attention(q, k, v), linear_attention(q', k', v')
}
""",
    "joint_projections": """
from std.nn import QKV

block Sums(x: [B, n, d]) -> [B, n, d] {
  layer shared = linear[d]
  (a, b) = split[-1, [d, 3]](x |> linear[d + 3]@wide)
  more = [x |> linear[d]@more for i in 1..2]
  other = x |> linear[d, bias = false]@other
  unread = x |> linear[d]@unread
  return a + more[0] * more[1] + shared(x) + shared(relu(x)) + other
}

model Projections(x: [B, 6, 8]) -> [B, 6, 8] {
  repeat 3 {
    (q, k, v) = x |> QKV[2]@qkv
    y = x |> linear[8]@left
    z = x |> linear[8]@right
    x = y * z + reduce["b h n c -> b 1 (h c)", mean](q * k + v)
  }
  return x |> Sums@sums
}
""",
}
"""By the name of the pass, and what is special about them."""

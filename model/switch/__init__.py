"""The Switch layer: a router sends each token to one expert (or k) out of many feed-forwards.

Source: Switch Transformer (Fedus et al. 2022), section 2. Read in this order:

1. `routing.py`: the router's probabilities, top-k, gates, balance loss and z-loss.
2. `capacity.py`: tokens into buffers of fixed capacity and back, the paper's layer; also with a
   capacity that groups on several devices share.
3. `dispatch.py`: the choice among these ways, and the way without capacity.
4. `switch_layer.py`: the layer as one device runs it, from tokens to tokens; its weights on a mesh.
5. `balancing.py`: biases of experts that even out their loads.

One routing group of six tokens, three experts, top-1, capacity factor 1, so capacity 6 / 3 = 2:

    token                 0    1    2    3    4    5
    p(expert 0)         0.2  0.1  0.6  0.2  0.1  0.8
    p(expert 1)         0.7  0.8  0.3  0.5  0.1  0.1
    p(expert 2)         0.1  0.1  0.1  0.3  0.8  0.1
    expert_index          1    1    0    1    2    0    argmax over experts
    gate                0.7  0.8  0.6  0.5  0.8  0.8    its probability
    position_in_expert    0    1    0    2    0    1    earlier tokens of the same expert
    kept                  1    1    1    0    1    1    position_in_expert < capacity

Expert 1 is full when token 3 arrives: the token is dropped and passes through the residual
connection only. Each expert computes its buffer, [capacity, embed], of these tokens:

    expert 0    2  5
    expert 1    0  1
    expert 2    4  -

Token 5 gives 0.8 * expert 0 (x[5]), read from position 1 of buffer 0. The balance loss is
3 * (2/6 * 2.0/6 + 3/6 * 2.5/6 + 1/6 * 1.5/6) = 1.083: number of experts, times the sum over experts
of their share of assignments times their mean probability; 1 if even.
"""

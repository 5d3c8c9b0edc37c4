"""How CPUs compute the networks of couplings.

`plain` is for every CPU, mostly in float32: `nfcli.flows.operations` calls it. `onednn` takes the place of these
operations, by a `ComputePolicy`, on CPUs with AVX-512, if `trial` says that it is right there, and faster.

What each trick is worth: so many percent longer takes a training step without it. Processor time of both cores, lower
quartile of 12 turns in alternation, 128 images, two cores of a Zen 4, presets cut to one coupling of each kind; a
difference below 3 is noise. Less than 5 for every preset is not worth its lines. `mixture` had 40 channels and two
blocks at 14x14 then.

    plain                                                     simple   vardeq   multiscale   mixture
    barriers: nothing is computed twice                           29       36           25        10
    few output channels as one product and shifted sums           13       10           12         2
    kernels' gradients in chunks of the batch                      5        7           17         6
    sums over rows as a product with ones                          2        2            8         5
    two neighbouring pixels at once for few channels               8        6            1         0
    one exponential for both halves of ConcatELU                   0       -2            8        -1
    kernel's gradient of a 1x1 convolution image by image          1       -2            6        -4

    onednn, in bfloat16
    sums over rows as a product with ones                          8        6            8         5
    few channels by neighbourhoods, not folded                    11        0            1         9
    barriers (without them 6 to 26 % more memory, too)             7       -2           -1         5
    ConcatELU as a product and oneDNN's ELU                        1        5            3         1
    a device a core, not one of all cores                         25       30           20        34
    the same on two cores with AMX                                20       22           19

Of `onednn` the columns of `simple` and `mixture`, and the last two lines, are times on the clock, of 12 to 24
turns, of 6 with AMX; those of the two pixels for `simple` and `vardeq` are of the whole presets, 8 turns. Tried and
left out: two exponentials for ConcatELU of up to 16 channels (-1 for `vardeq`; the others were not measured).
"""

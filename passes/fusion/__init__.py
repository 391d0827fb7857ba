"""Fusion: several operators as one, by recognising what they spell or by merging weights.

Passes and what they are made of:

    recognise-*    activations, attention, gelu, group_norm, layer_norm, local_response, lp_norm,
                   rectifiers, rotary, softmax
      attention    attention_detours, attention_einsum, attention_guards, attention_inputs,
                   attention_mask, attention_rows
      norms        norm_forms, norm_parameters
      rotary       rotary_angles
    fuse-*         attention_heads (fuse-attention), batch_norm, consecutive_linear,
                   gemm_transposes, matmul_add, pad
      batch_norm   affine: the map; absorb: the plan; passages and operands: its way through
                   operators with one data input and with several; ends and norm_ends: where it
                   ends; regroup: its way through reshapes
    merge-*        merge_branches, merge_products
      branches     kernels, also of consecutive_linear
      products     sink_split, splits
    canonical_forms    explicit_pads, flattened_products, optional_inputs
    contrib (standardise-contrib-ops)    contrib_activations, contrib_attention, contrib_legacy,
                   contrib_masks, contrib_norms, contrib_products, contrib_rotary, contrib_writing
    several        constants, forms, linear
"""

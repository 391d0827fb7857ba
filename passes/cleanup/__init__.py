"""Cleanup: the same computation said with fewer or plainer operators.

Also what code generation needs beforehand: newer opsets, plainer operators, wider types. A pass is
in the file of its name; the other files are what passes are made of:

    inline_control_flow    loop_bodies, which remove_dead_code and simplify_loops ask, too
    lower_attention        attention_positions, function_bodies
    lower_exotic           einsum, exotic_rules, function_bodies
    merge_constants        constant_terms
    merge_reductions       reduction_rules
    merge_slices           concat_rules, gather_rules, slice_rules
    move_transposes        permuted, permuting
    move_views             leading_axes, view_moves
    rebuild_shapes         shape_builder
    remove_dead_code       dead_states
    remove_no_ops          no_op_arithmetic, no_op_moves
    simplify_arithmetic    clamps, which simplify_elementwise uses, too
    simplify_chains        broadcast_rules, cast_rules, reduction_rules
    simplify_shapes        shape_arguments
    upgrade_opset          opset_rules
    several                dead, windows

What stands alone and gives back its input is removed by remove_no_ops. Two in a row become one by
the pass of their kind: views, transposes, casts and the axes of a reduction by simplify_chains,
what is cut and joined by merge_slices, reductions by merge_reductions, constants by
merge_constants; signs, bounds and conditions by simplify_elementwise where no bit changes, by
simplify_arithmetic where one may.
"""

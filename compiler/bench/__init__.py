"""What each pass is worth: measured on an engine, judged on tasks with labels.

``study`` runs a bench from beginning to end and returns a ``document``. On the way, ``variants``
names the selections of passes to compare and ``ladder`` rewrites them all; ``builders`` make of
each what an engine loads, ``subjects`` check it against the original (``fidelity``); ``columns``
and ``ablation`` find what to compare with; ``sittings`` seats processes (``client``, which starts
``worker`` with one of ``engines``) and times them; ``contrasts`` and ``answers`` turn times into
what passes are worth. Tasks are ``task``, ``loading`` and ``scoring``; ``report`` is the page.
``timing`` is for two or a few engines that are compared once, as the benchmark suite does.
"""

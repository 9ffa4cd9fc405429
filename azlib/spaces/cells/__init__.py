"""The cell of four nodes that NAS-Bench-201 and TransNAS-Bench-101 have in common.

`text` says which cells are the same network, `network` holds their torch modules.
"""

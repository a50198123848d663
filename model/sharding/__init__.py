"""Sharding of arrays over the mesh: devices, layouts, exchanges.

* `mesh.py`: devices along the five axes, and what the sizes of a recipe must divide by.
* `layouts.py`: one table from dimension names to axes.
* `exchanges.py`: functions run on each device's part, and what they send to other devices.
"""

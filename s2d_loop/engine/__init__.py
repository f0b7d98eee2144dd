"""vLLM engines as Ray actors: their placement, and the pool that routes to, refreshes and heals them.

`ray_engines.RayEngines` is the driver's handle and `client.PoolClient` the programs'; import them from
their modules, so that reading one doesn't load Ray for those who only need the other's types.
"""

"""Configuration: strict, checked all at once, every default in `tree`."""

from s2d_loop.config.dump import difference, resolved_yaml
from s2d_loop.config.load import load
from s2d_loop.config.tree import (
    Config,
    CurateConfig,
    EngineConfig,
    EvaluateConfig,
    GateConfig,
    GenerateConfig,
    HeldOutConfig,
    MethodConfig,
    ModelConfig,
    PoolConfig,
    ProgramConfig,
    RayConfig,
    RunConfig,
    SamplingConfig,
    SourceConfig,
    TaskConfig,
    TracesConfig,
    TrainConfig,
)

__all__ = [
    "Config",
    "CurateConfig",
    "EngineConfig",
    "EvaluateConfig",
    "GateConfig",
    "GenerateConfig",
    "HeldOutConfig",
    "MethodConfig",
    "ModelConfig",
    "PoolConfig",
    "ProgramConfig",
    "RayConfig",
    "RunConfig",
    "SamplingConfig",
    "SourceConfig",
    "TaskConfig",
    "TracesConfig",
    "TrainConfig",
    "difference",
    "load",
    "resolved_yaml",
]

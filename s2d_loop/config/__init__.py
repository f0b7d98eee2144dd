"""Configuration: strict, checked all at once, every default beside its key."""

from s2d_loop.config.dump import difference, resolved_yaml
from s2d_loop.config.generation import EngineConfig, GenerateConfig, TriageConfig
from s2d_loop.config.inputs import CanaryConfig, GeneralConfig, HeldOutConfig, SourceConfig
from s2d_loop.config.judgement import (
    EvaluateConfig,
    ForgettingConfig,
    GateConfig,
    RetireConfig,
    ServingConfig,
)
from s2d_loop.config.load import load
from s2d_loop.config.tasks import CurateConfig, MethodConfig, ProgramConfig, SamplingConfig, TaskConfig
from s2d_loop.config.training import PoolConfig, TrainConfig
from s2d_loop.config.tree import Config, ModelConfig, RayConfig, RetentionConfig, RunConfig, TracesConfig

__all__ = [
    "CanaryConfig",
    "Config",
    "CurateConfig",
    "EngineConfig",
    "EvaluateConfig",
    "ForgettingConfig",
    "GateConfig",
    "GeneralConfig",
    "GenerateConfig",
    "HeldOutConfig",
    "MethodConfig",
    "ModelConfig",
    "PoolConfig",
    "ProgramConfig",
    "RayConfig",
    "RetentionConfig",
    "RetireConfig",
    "RunConfig",
    "SamplingConfig",
    "ServingConfig",
    "SourceConfig",
    "TaskConfig",
    "TracesConfig",
    "TrainConfig",
    "TriageConfig",
    "difference",
    "load",
    "resolved_yaml",
]

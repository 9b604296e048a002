"""Why trainings failed: causes, along every setting, half precision, health, one failure step by step."""

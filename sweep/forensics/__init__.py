"""Why a training went bad: facts of its records and data, a watched step, and counterfactual replays."""

"""One file a figure: Info -> Plotly figure. The figures compute nothing."""

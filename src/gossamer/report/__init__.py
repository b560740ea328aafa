"""Reports on trainings: run folders in, one self-contained HTML file out."""

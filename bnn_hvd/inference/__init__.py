"""Methods: how a posterior is approximated. One file each; they never import one another. See method.py first."""

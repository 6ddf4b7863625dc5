"""The paper's comparison of local attention and depth-wise convolution, run on small pictures."""

"""What the tool can and cannot do, in the words that help, README and reports share."""

LIMITS = (
    "unlearn adds noise of at most rho to each colour value. In our audits, small image "
    "classifiers trained long and in the ordinary way on protected pictures alone ended much "
    "worse on clean ones (numbers: docs/results.md). It raises the cost of training on your "
    "pictures. It does not hide them from models already trained, it does not stop one picture "
    "from being edited or described, and it can be weakened or undone: by adversarial training, "
    "by stopping early, by training on grey or strongly compressed copies, by denoising or "
    "purifying, by mixing in clean pictures of the same things, or by methods not known yet. It "
    "says nothing about text-to-image style copying. It is not legal protection. Keep your "
    "originals."
)

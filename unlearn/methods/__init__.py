"""Methods by name."""

from unlearn.methods.ar import Ar
from unlearn.methods.base import Cost, Method, NoiseMaker, Spec
from unlearn.methods.casts import Casts
from unlearn.methods.clusters import Clusters
from unlearn.methods.cuda import Cuda
from unlearn.methods.em import Em
from unlearn.methods.entf import EntF
from unlearn.methods.lsp import Lsp
from unlearn.methods.mi_ue import MiUe
from unlearn.methods.min_max_min import MinMaxMin
from unlearn.methods.motifs import Motifs
from unlearn.methods.ntga import Ntga
from unlearn.methods.ops import Ops
from unlearn.methods.rem import Rem, Sem
from unlearn.methods.tap import Tap
from unlearn.methods.tue import Tue

# Made with a network, the default first; without one; without labels; our own. Each by year.
METHODS: dict[str, type[Method]] = {
    MinMaxMin.name: MinMaxMin,
    Em.name: Em,
    Tap.name: Tap,
    Ntga.name: Ntga,
    Rem.name: Rem,
    EntF.name: EntF,
    Tue.name: Tue,
    Sem.name: Sem,
    MiUe.name: MiUe,
    Lsp.name: Lsp,
    Ar.name: Ar,
    Cuda.name: Cuda,
    Ops.name: Ops,
    Clusters.name: Clusters,
    Motifs.name: Motifs,
    Casts.name: Casts,
}

__all__ = ["METHODS", "Cost", "Method", "MinMaxMin", "NoiseMaker", "Spec"]

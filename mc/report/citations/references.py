"""Every publication that the code builds on, once."""

from __future__ import annotations

from collections.abc import Mapping

from mc.report.citations.entry import Reference

_JASA, _ANN_STAT, _ANN_MATH_STAT = "J. Amer. Statist. Assoc.", "Ann. Statist.", "Ann. Math. Statist."
_BFQ = "N. Buskulic, J. Fadili, Y. Quéau"

_ALL = (
    # the programme under test
    Reference("buskulic2023gretsi", _BFQ, "Garanties de convergence pour la résolution de problèmes inverses linéaires "
              "par réseaux de neurones génératifs", 2023, "GRETSI 2023", url="https://hal.science/hal-04502368",
              kind="misc"),
    Reference("buskulic2023wide", "N. Buskulic, Y. Quéau, J. Fadili", "Convergence guarantees of overparametrized wide "
              "deep inverse prior", 2023, arxiv="2303.11265", kind="misc"),
    Reference("buskulic2023recovery", _BFQ, "Convergence and recovery guarantees of unsupervised neural networks for "
              "inverse problems", 2023, arxiv="2309.12128", kind="misc"),
    Reference("buskulic2024descent", _BFQ, "Recovery guarantees of unsupervised neural networks for inverse problems "
              "trained with gradient descent", 2024, arxiv="2403.05395", kind="misc"),
    # the theory
    Reference("lojasiewicz1963", "S. Łojasiewicz", "Une propriété topologique des sous-ensembles analytiques réels",
              1963, "Les équations aux dérivées partielles, CNRS", kind="misc"),
    Reference("kurdyka1998", "K. Kurdyka", "On gradients of functions definable in o-minimal structures", 1998,
              "Ann. Inst. Fourier", "48", "3", "769--783", "10.5802/aif.1638"),
    Reference("bregman1967", "L. M. Bregman", "The relaxation method of finding the common point of convex sets and "
              "its application to the solution of problems in convex programming", 1967,
              "USSR Comput. Math. Math. Phys.", "7", "3", "200--217", "10.1016/0041-5553(67)90040-7"),
    Reference("nemirovski1983", "A. S. Nemirovski, D. B. Yudin", "Problem complexity and method efficiency in "
              "optimization", 1983, "Wiley", kind="book"),
    Reference("alvarez2004", "F. Alvarez, J. Bolte, O. Brahic",
              "Hessian Riemannian gradient flows in convex programming",
              2004, "SIAM J. Control Optim.", "43", "2", "477--501", "10.1137/S0363012902419977"),
    Reference("tropp2012", "J. A. Tropp", "User-friendly tail bounds for sums of random matrices", 2012,
              "Found. Comput. Math.", "12", "4", "389--434", "10.1007/s10208-011-9099-z"),
    Reference("hsu2012", "D. Hsu, S. Kakade, T. Zhang", "A tail inequality for quadratic forms of subgaussian random "
              "vectors", 2012, "Electron. Commun. Probab.", "17", doi="10.1214/ECP.v17-2079"),
    Reference("laurent2000", "B. Laurent, P. Massart", "Adaptive estimation of a quadratic functional by model "
              "selection", 2000, _ANN_STAT, "28", "5", "1302--1338", "10.1214/aos/1015957395"),
    Reference("boucheron2013", "S. Boucheron, G. Lugosi, P. Massart", "Concentration inequalities: a nonasymptotic "
              "theory of independence", 2013, "Oxford University Press", kind="book"),
    Reference("wendel1962", "J. G. Wendel", "A problem in geometric probability", 1962, "Math. Scand.", "11",
              pages="109--111"),
    Reference("zaslavsky1975", "T. Zaslavsky", "Facing up to arrangements: face-count formulas for partitions of space "
              "by hyperplanes", 1975, "Mem. Amer. Math. Soc.", "154"),
    Reference("gordon1988", "Y. Gordon", "On Milman's inequality and random subspaces which escape through a mesh in "
              "R^n", 1988, "Lecture Notes in Math.", "1317", pages="84--106", doi="10.1007/BFb0081737"),
    Reference("corless1996", "R. M. Corless, G. H. Gonnet, D. E. G. Hare, D. J. Jeffrey, D. E. Knuth", "On the Lambert "
              "W function", 1996, "Adv. Comput. Math.", "5", pages="329--359", doi="10.1007/BF02124750"),
    Reference("corless2002", "R. M. Corless, D. J. Jeffrey", "The Wright omega function", 2002,
              "Lecture Notes in Comput. Sci.", "2385", pages="76--89", doi="10.1007/3-540-45470-5_10"),
    Reference("fritsch1973", "F. N. Fritsch, R. E. Shafer, W. P. Crowley", "Algorithm 443: solution of the "
              "transcendental equation w e^w = x", 1973, "Commun. ACM", "16", "2", "123--124", "10.1145/361952.361970"),
    # integration
    Reference("dormand1980", "J. R. Dormand, P. J. Prince", "A family of embedded Runge-Kutta formulae", 1980,
              "J. Comput. Appl. Math.", "6", "1", "19--26", "10.1016/0771-050X(80)90013-3"),
    Reference("shampine1986", "L. F. Shampine", "Some practical Runge-Kutta formulas", 1986, "Math. Comp.", "46", "173",
              "135--150"),
    Reference("hairer1993", "E. Hairer, S. P. Nørsett, G. Wanner", "Solving ordinary differential equations I: "
              "nonstiff problems, 2nd edition", 1993, "Springer", kind="book"),
    Reference("gustafsson1994", "K. Gustafsson", "Control-theoretic techniques for stepsize selection in implicit "
              "Runge-Kutta methods", 1994, "ACM Trans. Math. Software", "20", "4", "496--517", "10.1145/198429.198437"),
    Reference("hochbruck2009", "M. Hochbruck, A. Ostermann, J. Schweitzer", "Exponential Rosenbrock-type methods", 2009,
              "SIAM J. Numer. Anal.", "47", "1", "786--803", "10.1137/080717717"),
    Reference("hochbruck2010", "M. Hochbruck, A. Ostermann", "Exponential integrators", 2010, "Acta Numer.", "19",
              pages="209--286", doi="10.1017/S0962492910000048"),
    Reference("krogstad2005", "S. Krogstad", "Generalized integrating factor methods for stiff PDEs", 2005,
              "J. Comput. Phys.", "203", "1", "72--88", "10.1016/j.jcp.2004.08.006"),
    Reference("whalen2015", "P. Whalen, M. Brio, J. V. Moloney", "Exponential time-differencing with embedded "
              "Runge-Kutta adaptive step control", 2015, "J. Comput. Phys.", "280", pages="579--601"),
    Reference("huangfu2018", "Q. Huangfu, J. A. J. Hall", "Parallelizing the dual revised simplex method", 2018,
              "Math. Program. Comput.", "10", "1", "119--142", "10.1007/s12532-017-0130-5"),
    # statistics
    Reference("clopper1934", "C. J. Clopper, E. S. Pearson", "The use of confidence or fiducial limits illustrated in "
              "the case of the binomial", 1934, "Biometrika", "26", "4", "404--413", "10.1093/biomet/26.4.404"),
    Reference("ville1939", "J. Ville", "Étude critique de la notion de collectif", 1939, "Gauthier-Villars",
              kind="book"),
    Reference("robbins1970", "H. Robbins", "Statistical methods related to the law of the iterated logarithm", 1970,
              _ANN_MATH_STAT, "41", "5", "1397--1409", "10.1214/aoms/1177696786"),
    Reference("howard2021", "S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon", "Time-uniform, nonparametric, "
              "nonasymptotic confidence sequences", 2021, _ANN_STAT, "49", "2", "1055--1080", "10.1214/20-AOS1991"),
    Reference("hoeffding1963", "W. Hoeffding", "Probability inequalities for sums of bounded random variables", 1963,
              _JASA, "58", "301", "13--30", "10.1080/01621459.1963.10500830"),
    Reference("wilson1927", "E. B. Wilson", "Probable inference, the law of succession, and statistical inference",
              1927,
              _JASA, "22", "158", "209--212", "10.1080/01621459.1927.10502953"),
    Reference("brown2001", "L. D. Brown, T. T. Cai, A. DasGupta", "Interval estimation for a binomial proportion", 2001,
              "Statist. Sci.", "16", "2", "101--133", "10.1214/ss/1009213286"),
    Reference("holm1979", "S. Holm", "A simple sequentially rejective multiple test procedure", 1979,
              "Scand. J. Statist.", "6", "2", "65--70"),
    Reference("mcnemar1947", "Q. McNemar", "Note on the sampling error of the difference between correlated "
              "proportions or percentages", 1947, "Psychometrika", "12", "2", "153--157", "10.1007/BF02295996"),
    Reference("dvoretzky1956", "A. Dvoretzky, J. Kiefer, J. Wolfowitz", "Asymptotic minimax character of the sample "
              "distribution function and of the classical multinomial estimator", 1956, _ANN_MATH_STAT, "27", "3",
              "642--669", "10.1214/aoms/1177728174"),
    Reference("massart1990", "P. Massart", "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", 1990,
              "Ann. Probab.", "18", "3", "1269--1283", "10.1214/aop/1176990746"),
    Reference("kaplan1958", "E. L. Kaplan, P. Meier", "Nonparametric estimation from incomplete observations", 1958,
              _JASA, "53", "282", "457--481", "10.1080/01621459.1958.10501452"),
    Reference("firth1993", "D. Firth", "Bias reduction of maximum likelihood estimates", 1993, "Biometrika", "80", "1",
              "27--38", "10.1093/biomet/80.1.27"),
    Reference("kosmidis2021", "I. Kosmidis, D. Firth", "Jeffreys-prior penalty, finiteness and shrinkage in "
              "binomial-response generalized linear models", 2021, "Biometrika", "108", "1", "71--82",
              "10.1093/biomet/asaa052"),
    # rare failures
    Reference("kahn1951", "H. Kahn, T. E. Harris", "Estimation of particle transmission by random sampling", 1951,
              "National Bureau of Standards Applied Mathematics Series", "12", pages="27--30"),
    Reference("cerou2007", "F. Cérou, A. Guyader", "Adaptive multilevel splitting for rare event analysis", 2007,
              "Stoch. Anal. Appl.", "25", "2", "417--443", "10.1080/07362990601139628"),
    Reference("cotter2013", "S. L. Cotter, G. O. Roberts, A. M. Stuart, D. White", "MCMC methods for functions: "
              "modifying old algorithms to make them faster", 2013, "Statist. Sci.", "28", "3", "424--446",
              "10.1214/13-STS421"),
    Reference("olsson2005", "U. Olsson", "Confidence intervals for the mean of a log-normal distribution", 2005,
              "J. Statist. Educ.", "13", "1"),
    Reference("siegmund1976", "D. Siegmund", "Importance sampling in the Monte Carlo study of sequential tests", 1976,
              _ANN_STAT, "4", "4", "673--684", "10.1214/aos/1176343541"),
    # software
    Reference("oneill2014", "M. E. O'Neill", "PCG: a family of simple fast space-efficient statistically good "
              "algorithms for random number generation", 2014, "Harvey Mudd College, HMC-CS-2014-0905", kind="misc"),
    Reference("harris2020", "C. R. Harris and others", "Array programming with NumPy", 2020, "Nature", "585",
              pages="357--362", doi="10.1038/s41586-020-2649-2"),
    Reference("virtanen2020", "P. Virtanen and others", "SciPy 1.0: fundamental algorithms for scientific computing in "
              "Python", 2020, "Nat. Methods", "17", pages="261--272", doi="10.1038/s41592-019-0686-2"),
)  # fmt: skip

REFERENCES: Mapping[str, Reference] = {reference.key: reference for reference in _ALL}
"""By the key of the BibTeX entry."""

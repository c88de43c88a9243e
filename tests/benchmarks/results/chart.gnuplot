set terminal svg size 900,780 font 'sans-serif,13' background rgb 'white'
set output 'chart.svg'
set title 'Time over the limit that memory sets (f32, 2 threads)'
set xlabel 'multiple of the limit; shorter is better' offset 0,0.6
set rmargin 12
set key below center horizontal samplen 2
set logscale x 2
set xrange [0.5:*]
set yrange [21:-1]
set grid xtics lc rgb '#d0d0d0' lt 1
set border 2
set tics nomirror scale 0
set style fill solid noborder
set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 lc rgb '#404040'
set ytics ('infer  nchw 32x256x56x56' 0, 'infer  nchw 32x2048x7x7' 1, 'infer  nhwc 32x512x28x28' 2, 'infer  nhwc 1x64x112x112' 3, 'infer  nc 64x512' 4, 'infer  nc 1024x1024' 5, 'infer  nc 16384x512' 6, 'train  nchw 32x256x56x56' 7, 'train  nchw 32x2048x7x7' 8, 'train  nhwc 32x512x28x28' 9, 'train  nhwc 1x64x112x112' 10, 'train  nc 64x512' 11, 'train  nc 1024x1024' 12, 'train  nc 16384x512' 13, 'backward  nchw 32x256x56x56' 14, 'backward  nchw 32x2048x7x7' 15, 'backward  nhwc 32x512x28x28' 16, 'backward  nhwc 1x64x112x112' 17, 'backward  nc 64x512' 18, 'backward  nc 1024x1024' 19, 'backward  nc 16384x512' 20)
$rows << end_of_rows
0 1.07248 1.44856 "1.07" "1.45 libtorch"
1 1.19812 3.1813 "1.20" "3.18 libtorch"
2 1.09298 1.13307 "1.09" "1.13 oneDNN"
3 1.46222 1.67387 "1.46" "1.67 oneDNN"
4 1.98717 4.47084 "1.99" "4.47 oneDNN*"
5 1.40559 1.66877 "1.41" "1.67 oneDNN*"
6 1.22012 1.70045 "1.22" "1.70 oneDNN*"
7 2.51978 10.8253 "2.52" "10.83 libtorch"
8 3.96232 20.7585 "3.96" "20.76 oneDNN"
9 1.52463 1.50563 "1.52" "1.51 oneDNN"
10 1.31666 1.66593 "1.32" "1.67 oneDNN"
11 4.83379 5.57816 "4.83" "5.58 oneDNN*"
12 2.02664 1.73428 "2.03" "1.73 oneDNN*"
13 1.60673 1.91745 "1.61" "1.92 oneDNN*"
14 1.47665 1.64941 "1.48" "1.65 libtorch"
15 5.07262 18.1128 "5.07" "18.11 libtorch"
16 1.75272 1.71197 "1.75" "1.71 libtorch"
17 1.24148 1.53162 "1.24" "1.53 oneDNN"
18 4.18809 4.34472 "4.19" "4.34 oneDNN*"
19 1.91126 2.10716 "1.91" "2.11 libtorch"
20 2.057 1.99959 "2.06" "2.00 libtorch"
end_of_rows
plot $rows using (0.5):($1-0.19):(0.5):2:($1-0.36):($1-0.02) with boxxyerror lc rgb '#0072B2' title 'batchnorm', \
  $rows using (0.5):($1+0.19):(0.5):3:($1+0.02):($1+0.36) with boxxyerror lc rgb '#E69F00' title 'best rival', \
  $rows using 2:($1-0.19):4 with labels left offset 0.4,0 font ',10' notitle, \
  $rows using 3:($1+0.19):5 with labels left offset 0.4,0 font ',10' notitle
